"""Appends each line of stdin to a topic: python produce.py 127.0.0.1:7654 clicks

A line `key<TAB>value` has a key. Prints partition and offset of each record once it is durable.
"""

import sys

import grpc
from google.rpc import error_details_pb2
from grpc_status import rpc_status
from highwater.v1 import log_pb2, log_pb2_grpc, record_pb2


def reason(error):
    """The reason of an error, as docs/cli.md lists them; OUTCOME_UNKNOWN when nobody answered."""
    status = rpc_status.from_call(error)
    info = error_details_pb2.ErrorInfo()
    for detail in status.details if status else []:
        if detail.Unpack(info):
            return info.reason
    return "OUTCOME_UNKNOWN"


def main(address, topic):
    with grpc.insecure_channel(address) as channel:
        log = log_pb2_grpc.LogServiceStub(channel)
        topic_id = ""
        for line in sys.stdin:
            key, tab, value = line.rstrip("\n").rpartition("\t")
            record = record_pb2.Record(value_text=value)
            if tab:
                record.key_text = key
            # Any broker takes the call and hands it to the leader. The answer means that a majority
            # of the replicas has the record on disk.
            try:
                request = log_pb2.ProduceRequest(topic=topic, topic_id=topic_id, records=[record])
                ack = log.Produce(request, timeout=30)
            except grpc.RpcError as error:
                sys.exit(f"{reason(error)}: {error.details()}")
            # All lines go to the same topic: one that was re-created meanwhile is refused.
            topic_id = ack.topic_id
            print(f"{ack.partition}:{ack.base_offset}", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
