"""Whether the network loads and runs here, and is the one that the servers have."""

from __future__ import annotations

import json
from typing import Any

from dnn_offload.doctor.examination import Examination, START_SERVER
from dnn_offload.doctor.finding import failure, Finding, fine, skipped, together
from dnn_offload.doctor.machine import Ended
from dnn_offload.graph.fingerprint import agree, distance

CODE = ('python:', 'file:')
SHOWN = 12  # digits of an identity


def check_model(exam: Examination) -> Finding:
    """Export (or take from the cache), load and run the network in a child."""
    name = exam.model_name()
    if not exam.settings.model and name.startswith(CODE):
        return skipped(
            f'the network of the others, {name}, executes code',
            f'if you trust it: dnn-offload doctor {name} --allow-code',
        ).knowing(model=name)
    ended = exam.model()
    answer = ended.answer
    if answer is None:
        return _broken(name, ended).knowing(model=name, signal=ended.signal)
    facts = {key: value for key, value in answer.items() if key != 'fingerprint'}
    found = (
        f'{answer["source"]} ({answer["identity"][:SHOWN]}), {answer["cuts"]} cuts, loads in '
        f'{answer["load_s"]:.2f} s, runs in {answer["run_ms"]:.1f} ms on one thread'
        + (f', {answer["stamp"]}' if answer['stamp'] else '')
    )
    if not answer['same_as_exported']:
        return failure(
            f'{found}; it does not compute what it did when it was exported',
            f'delete {answer["folder"]} and ask again',
        ).knowing(**facts)
    if not answer['on_nodes']:
        return failure(
            f'{found}; the nodes cannot run a network of task {answer["task"]}',
            'choose a network that takes one picture and classifies, detects or segments; this '
            'one can be planned on the command line',
        ).knowing(**facts)
    return fine(found).knowing(**facts)


def _broken(name: str, ended: Ended) -> Finding:
    if ended.timed_out:
        return failure(
            f'{name} was not exported within {ended.seconds:.0f} s',
            'give it more time (--patience 5), or end what else runs here',
        )
    if ended.signal:
        return failure(
            f'{name}: torch died from {ended.signal}',
            'see the check torch; SIGKILL means that memory was short: choose a smaller network',
        )
    if "No module named 'torch'" in ended.errors:
        return failure(f'{name} cannot run: torch is not installed', 'see the check torch')
    if 'urlopen' in ended.errors or 'download' in ended.errors:
        # The whole line: what torchvision's sources say names the file and where it belongs.
        what, _, hint = ended.errors.strip().splitlines()[-1].partition('; ')
        return failure(
            what if 'downloaded' in what else f'{name}: its weights cannot be downloaded: {what}',
            hint or 'connect this machine once, or bring a file: --weights FILE.safetensors',
        )
    return failure(
        f'{name}: {ended.why}',
        'do what it says, or ask about another network: dnn-offload doctor MODEL',
    )


def check_agreement(exam: Examination) -> Finding:
    """Compare identity and fingerprint with every server's, and robots with servers."""
    domain = exam.domain()
    servers = [server for server in domain['servers'] if server['identity']]
    if not servers:
        return skipped('no server with a network was found', START_SERVER)
    findings = []
    for namespace, robot in sorted(domain['robots'].items()):
        findings += _robot(namespace, robot['profile'], servers)
    answer = None if _is_code(exam) else exam.model().answer
    if answer is None:
        findings.append(skipped(
            'the network was not run here', 'do what the check model says, then ask again'
        ))
    else:
        findings += [_server(exam, answer, server) for server in servers]
    return together(findings).knowing(
        identities={server['server']: server['identity'] for server in servers}
    )


def _is_code(exam: Examination) -> bool:
    return not exam.settings.model and exam.model_name().startswith(CODE)


def _server(exam: Examination, answer: dict[str, Any], server: dict[str, Any]) -> Finding:
    name = server['server']
    if server['identity'] != answer['identity']:
        same = server['model'] == answer['source']
        return failure(
            f'server {name} has {server["model"]} ({server["identity"][:SHOWN]}), here it is '
            f'{answer["source"]} ({answer["identity"][:SHOWN]})'
            + (': the same name, other weights or versions' if same else ''),
            'give both sides the same weights and input_size (and ask the doctor with --weights), '
            'and the same torch and torchvision' if same
            else f'start both sides with the same network: model:={answer["source"]}, or ask the '
            f'doctor about theirs: dnn-offload doctor {server["model"]}',
        )
    if not server['fingerprint']:
        return fine(f'server {name} has the same network')
    difference = distance(answer['fingerprint'], server['fingerprint'])
    if not agree(answer['fingerprint'], server['fingerprint']):
        return failure(
            f'server {name} has the same weights and computes something else (relative difference '
            f'{difference:.2g})',
            'the same torch on both sides; if it stays, set backend: torch in the parameter file '
            'of both sides (launch: params_file:=)',
        )
    return fine(f'server {name} has the same network (answers differ by {difference:.1g})')


def _robot(namespace: str, profile: str, servers: list[dict[str, Any]]) -> list[Finding]:
    """Whether a robot that runs finds its network at a server; nothing where it is not known."""
    try:
        data = json.loads(profile)
        model, identity = str(data['model']), str(data['model_identity'])
    except (ValueError, KeyError, TypeError):
        return []
    if any(server['identity'] == identity for server in servers):
        return [fine(f'robot {namespace} finds its network')]
    theirs = ', '.join(f'{server["server"]}: {server["model"]}' for server in servers)
    return [failure(
        f'robot {namespace} runs {model} ({identity[:SHOWN]}), which no server has ({theirs})',
        f'start robot and server with the same network and weights, e.g. model:={model}',
    )]
