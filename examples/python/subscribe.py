"""Prints the records of a partition: python subscribe.py 127.0.0.1:7654,… clicks 0 [FROM [COUNT]]

Begins at offset FROM (0 by default), follows the leader wherever it goes, and ends after COUNT
records, or never.
"""

import itertools
import sys
import time

import grpc
from highwater.v1 import cluster_pb2, cluster_pb2_grpc, log_pb2, log_pb2_grpc

# The call may succeed later, or at another broker.
PASSING = (
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.FAILED_PRECONDITION,
    grpc.StatusCode.DEADLINE_EXCEEDED,
)


def leader_of(address, topic, partition):
    """The address of the partition's leader, as the broker at `address` knows it."""
    with grpc.insecure_channel(address) as channel:
        cluster = cluster_pb2_grpc.ClusterServiceStub(channel)
        request = cluster_pb2.GetMetadataRequest(topics=[topic])
        metadata = cluster.GetMetadata(request, timeout=5).metadata
    leader = metadata.topics[0].partitions[partition].leader
    return next((broker.listen for broker in metadata.brokers if broker.id == leader), address)


def records(addresses, topic, partition, offset):
    """The records from `offset` on, each once and in order, for ever."""
    for address in itertools.cycle(addresses):
        try:
            with grpc.insecure_channel(leader_of(address, topic, partition)) as channel:
                log = log_pb2_grpc.LogServiceStub(channel)
                wanted = dict(topic=topic, partition=partition, offset=offset)
                for message in log.Subscribe(log_pb2.SubscribeRequest(**wanted)):
                    yield from message.records
                    offset = message.next_offset
        except grpc.RpcError as error:
            if error.code() not in PASSING:
                raise
            time.sleep(0.1)


def main(addresses, topic, partition, offset="0", count=None):
    found = records(addresses.split(","), topic, int(partition), int(offset))
    for record in itertools.islice(found, int(count) if count else None):
        key = record.key_text or record.key.decode(errors="replace")
        value = record.value_text or record.value.decode(errors="replace")
        print(record.offset, key, value, sep="\t", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
