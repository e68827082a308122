"""The benchmark's model in SimPy and in Ciw: 10 chains of 10 slots, JFFC at load 0.95.

usage: peers.py simpy|ciw JOBS
"""
import random
import sys
import time

SERVICE = [1 + chain / 4 for chain in range(10)]
SLOTS = 10
RATE = 0.95 * sum(SLOTS / service for service in SERVICE)


def with_simpy(jobs):
    import simpy

    environment = simpy.Environment()
    arrivals, sizes = random.Random(1), random.Random(2)
    free = [SLOTS] * len(SERVICE)
    queue, ended, total = [], 0, 0.0
    finished = environment.event()

    def job(arrival, size, chain):
        nonlocal ended, total
        yield environment.timeout(size * SERVICE[chain])
        total += environment.now - arrival
        ended += 1
        if ended == jobs:
            finished.succeed()
        if queue:
            head = queue.pop(0)
            environment.process(job(head[0], head[1], chain))
        else:
            free[chain] += 1

    def source():
        while True:
            yield environment.timeout(arrivals.expovariate(RATE))
            size = sizes.expovariate(1)
            for chain, slots in enumerate(free):
                if slots:
                    free[chain] -= 1
                    environment.process(job(environment.now, size, chain))
                    break
            else:
                queue.append((environment.now, size))

    environment.process(source())
    environment.run(until=finished)
    return total / jobs


def with_ciw(jobs):
    """A router to the fastest chain with a free slot; the central queue is a node of its own with no service."""
    import ciw

    class Fastest(ciw.routing.NodeRouting):
        def next_node(self, individual):
            for number in range(1, len(SERVICE) + 1):
                node = self.simulation.nodes[number]
                if node.number_of_individuals < SLOTS:
                    return node
            # All full: the least loaded; the queue of a chain stands for the central one.
            return min(self.simulation.nodes[1 : len(SERVICE) + 1], key=lambda node: node.number_of_individuals)

    last = len(SERVICE) + 1
    leave = ciw.routing.Leave()
    network = ciw.create_network(
        arrival_distributions=[None] * len(SERVICE) + [ciw.dists.Exponential(rate=RATE)],
        service_distributions=[ciw.dists.Exponential(rate=1 / service) for service in SERVICE]
        + [ciw.dists.Deterministic(value=0)],
        number_of_servers=[SLOTS] * len(SERVICE) + [float("inf")],
        routing=ciw.routing.NetworkRouting(routers=[leave] * len(SERVICE) + [Fastest()]),
    )
    ciw.seed(1)
    simulation = ciw.Simulation(network)
    simulation.simulate_until_max_customers(jobs)
    records = [record for record in simulation.get_all_records() if record.node != last]
    return sum(record.exit_date - record.arrival_date for record in records) / max(1, len(records))


if __name__ == "__main__":
    count = int(sys.argv[2])
    begin = time.process_time()
    mean = {"simpy": with_simpy, "ciw": with_ciw}[sys.argv[1]](count)
    print(f"jobs {count} cpu_seconds {time.process_time() - begin:.6f} mean_response {mean:.6f}")
