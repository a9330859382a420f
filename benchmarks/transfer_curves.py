"""RoaD-RuNNer's curves against ``t = alpha + (bytes - burst) / B``, on real transfers (root).

TCP over a veth pair shaped by tbf, one rate after the other, all messages above its burst (what
fits into the burst passes at wire speed, and neither model knows). Half of the sizes are fitted,
the others are predicted: those between them, and those beyond (twice and four times the largest).
``live`` is the estimate of ``cost/link.py`` from the same transfers, as the planner would have
it. Prints the mean absolute error per rate and method, and beside it the energy curve.
RoaD-RuNNer measures its energies with a meter; here there is none, and the energy of a transfer is
its measured time at the power with which the board's radio sends (``cost/energy.py``, as the
planner counts it): the curve of the times in other units, and with their errors.

Run: ``python benchmarks/transfer_curves.py [--rates-mbps 2,10,40] [--board raspberry_pi_4b]``.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
import socket
import statistics
import sys
import threading
import time

import numpy as np
from record_trace import exchange, serve

from dnn_offload.cost.energy import frame_energy_j, load_board, PowerModel
from dnn_offload.cost.link import LinkEstimator, LinkEvidence, UPLINK
from dnn_offload.cost.transfer_curves import fit_curve, fit_line
from dnn_offload.testbed.network import Network

SIZES = [round(size) for size in np.geomspace(16_000, 400_000, 11)]
BEYOND = (800_000, 1_600_000)
REPEATS = 3
SHOWN = (16_000, 100_000, 400_000)


def measure(rate_bps: float, burst_bytes: int) -> list[tuple[int, float]]:
    """(bytes, ms) of transfers over a link of that rate."""
    with Network(rate_bps, 0.0, burst_bytes=burst_bytes) as network:
        with network.inside(network.server):
            listener = socket.create_server((network.server.address, 0))
        threading.Thread(target=serve, args=(listener,), daemon=True).start()
        with network.inside(network.robot):
            connection = socket.create_connection(listener.getsockname(), timeout=60.0)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with connection, listener:
            exchange(connection, SIZES[-1], 1)  # opens TCP's window
            found = []
            for _ in range(REPEATS):
                for nbytes in (*SIZES, *BEYOND):
                    time.sleep(0.05 + 8.0 * burst_bytes / rate_bps)  # the burst fills again
                    found.append((nbytes, exchange(connection, nbytes, 1)))
    return found


def errors(
    predict: Callable[[int], float], samples: list[tuple[int, float]]
) -> float:
    """Mean absolute error [%]."""
    return 100.0 * statistics.fmean(abs(predict(n) / ms - 1.0) for n, ms in samples)


def energies(power: PowerModel, samples: list[tuple[int, float]]) -> list[tuple[int, float]]:
    """(bytes, mJ) of transfers by the board's model, from (bytes, ms)."""
    return [(n, 1e3 * frame_energy_j(power, 0.0, ms, 0.0, 0.0)) for n, ms in samples]


def energy_cells(
    power: PowerModel, fitted: list[tuple[int, float]], others: list[list[tuple[int, float]]]
) -> list[str]:
    """Of the energy curve: [mJ] of the shown sizes, and errors as those of the times [%]."""
    curve = fit_curve(*zip(*energies(power, fitted), strict=True))
    found = [f'{curve(nbytes):.0f}' for nbytes in SHOWN]
    return [*found, ' / '.join(f'{errors(curve, energies(power, s)):.1f}' for s in others)]


def main() -> int:
    """Print a row per rate."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--rates-mbps', default='2,10,40')
    parser.add_argument('--burst-bytes', type=int, default=8192)
    parser.add_argument('--board', default='raspberry_pi_4b', help='whose radio sends')
    args = parser.parse_args()
    power = load_board(args.board)
    print(f'burst {args.burst_bytes} bytes; errors in %: between the fitted sizes / beyond them')
    guess = ' (estimated)' if 'radio_tx_w' in power.estimated else ''
    print(f'energy: modelled, {power.radio_tx_w:g} W{guess} while {power.name} sends; no meter')
    print(
        f'{"Mbit/s":>7}  {"line":>15}  {"curve":>15}  {"bare polynomial":>20}  {"live":>15}  '
        + '  '.join(f'{f"{nbytes // 1000} kB [mJ]":>11}' for nbytes in SHOWN)
        + f'  {"energy curve":>15}'
    )
    for text in args.rates_mbps.split(','):
        samples = measure(1e6 * float(text), args.burst_bytes)
        fitted = [s for s in samples if s[0] in SIZES[::2]]
        between = [s for s in samples if s[0] in SIZES[1::2]]
        beyond = [s for s in samples if s[0] in BEYOND]
        sizes, times = zip(*fitted, strict=True)
        alpha, slope, burst = fit_line(sizes, times)
        curve = fit_curve(sizes, times)
        link = LinkEstimator()
        for number, (nbytes, ms) in enumerate(fitted):
            link.add(LinkEvidence(UPLINK, nbytes, ms), 0.2 * number)
        state = link.state(0.2 * len(fitted))
        cells = []
        for predict in (
            lambda n, a=alpha, b=slope, c=burst: a + b * max(n - c, 0.0), curve,
            curve.polynomial, state.uplink_ms,
        ):
            cells.append(f'{errors(predict, between):.1f} / {errors(predict, beyond):.1f}')
        energy = energy_cells(power, fitted, [between, beyond])
        print(
            f'{text:>7}  {cells[0]:>15}  {cells[1]:>15}  {cells[2]:>20}  {cells[3]:>15}  '
            + '  '.join(f'{cell:>11}' for cell in energy[:-1]) + f'  {energy[-1]:>15}',
            flush=True,
        )
    return 0


if __name__ == '__main__':
    sys.exit(main())
