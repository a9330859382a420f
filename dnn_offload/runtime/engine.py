"""The inference engine: frames in, results and reports out, whatever the link does.

How a node uses it::

    model = TorchBackend().load(folder)                      # runtime/backends
    engine = InferenceEngine(model, events, settings, clock_s=node_clock, profile=profile)
    uplink = DdsUplink(..., events=engine)                   # transport/uplink.py
    engine.start(uplink)                                     # or start(None): no servers
    engine.set_plan(PlanRequest(plan_id, cut_id, codec, server))       # any thread
    seq = engine.enter(stamp_s, (header, image), picture_source)       # image callback
    engine.configure(deadline_ms=80.0, window=2, threads=1)            # any thread, any time
    engine.note_load(1.7)                                    # from the load monitor
    engine.counters(), engine.pid, engine.compute_tid, engine.active_plan
    engine.stop()                                            # drops what is left, joins

``events`` is an ``EngineEvents`` (``settings.py``); all its methods run on one thread, the
responder. ``picture_source`` runs on the worker thread and returns ``(picture, mapping)``.
"""
