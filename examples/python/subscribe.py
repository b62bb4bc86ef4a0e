"""Prints the records of a partition: python subscribe.py 127.0.0.1:7654,… clicks 0 [FROM [COUNT]]

Begins at offset FROM (0 by default), follows the leader wherever it goes, and ends after COUNT
records, or with an error, such as when the topic is deleted or made anew.
"""

import itertools
import sys
import time

import grpc
from highwater.v1 import cluster_pb2, cluster_pb2_grpc, log_pb2, log_pb2_grpc
from produce import reason

# The call may succeed later, or at another broker; so it may when the reason is NOT_LEADER.
PASSING = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED)


def leader_of(address, topic, partition):
    """The address of the partition's leader, as the broker at `address` knows it."""
    with grpc.insecure_channel(address) as channel:
        cluster = cluster_pb2_grpc.ClusterServiceStub(channel)
        request = cluster_pb2.GetMetadataRequest(topics=[topic])
        metadata = cluster.GetMetadata(request, timeout=5).metadata
    leaders = {p.partition: p.leader for found in metadata.topics for p in found.partitions}
    brokers = {broker.id: broker.listen for broker in metadata.brokers}
    return brokers.get(leaders.get(partition), address)


def records(addresses, topic, partition, offset):
    """The records from `offset` on, each once and in order, as long as the topic is the same."""
    topic_id = ""
    for address in itertools.cycle(addresses):
        try:
            with grpc.insecure_channel(leader_of(address, topic, partition)) as channel:
                log = log_pb2_grpc.LogServiceStub(channel)
                # Offsets mean nothing in another topic of this name: the broker compares the ids.
                wanted = dict(topic=topic, topic_id=topic_id, partition=partition, offset=offset)
                for message in log.Subscribe(log_pb2.SubscribeRequest(**wanted)):
                    yield from message.records
                    topic_id, offset = message.topic_id, message.next_offset
        except grpc.RpcError as error:
            if error.code() not in PASSING and reason(error) != "NOT_LEADER":
                sys.exit(f"{reason(error)}: {error.details()}")
            time.sleep(0.1)


def main(addresses, topic, partition, offset="0", count=None):
    found = records(addresses.split(","), topic, int(partition), int(offset))
    for record in itertools.islice(found, int(count) if count else None):
        key = record.key_text or record.key.decode(errors="replace")
        value = record.value_text or record.value.decode(errors="replace")
        print(record.offset, key, value, sep="\t", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
