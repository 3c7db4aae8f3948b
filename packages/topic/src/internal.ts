// What siblings share. Generated messages come as namespaces, because several of them have the same names.
export * as authWire from "./gen/ydb/auth_pb.ts";
export { AuthService } from "./gen/ydb/auth_v1_pb.ts";
export * as discoveryWire from "./gen/ydb/discovery_pb.ts";
export { DiscoveryService } from "./gen/ydb/discovery_v1_pb.ts";
export { type IssueMessage, IssueMessageSchema } from "./gen/ydb/issue_pb.ts";
export { type Operation, type OperationParams, OperationSchema } from "./gen/ydb/operation_pb.ts";
export * as queryWire from "./gen/ydb/query_pb.ts";
export { QueryService } from "./gen/ydb/query_v1_pb.ts";
export * as schemeWire from "./gen/ydb/scheme_pb.ts";
export { SchemeService } from "./gen/ydb/scheme_v1_pb.ts";
export { StatusIds_StatusCode as StatusCode } from "./gen/ydb/status_pb.ts";
export * as tableWire from "./gen/ydb/table_pb.ts";
export { TableService } from "./gen/ydb/table_v1_pb.ts";
export * as topicAdminWire from "./gen/ydb/topic_admin_pb.ts";
export * as topicWire from "./gen/ydb/topic_pb.ts";
export { TopicService } from "./gen/ydb/topic_v1_pb.ts";
export * as valueWire from "./gen/ydb/value_pb.ts";
export { classifyError, isConnectionError, isUnauthenticated, statusError, transportError } from "./client/status.ts";
export { codecName, codecNumber } from "./compression/codec-name.ts";
export { FrameBuilder } from "./frames/frame-builder.ts";
export { type Int64, int64Length, toInt64, writeInt64 } from "./frames/int64.ts";
export { encodeMetadataItems, type MetadataItem } from "./frames/metadata.ts";
export { ReadColumns } from "./frames/read-columns.ts";
export { decodeReadResponse, type ReadResponseColumns } from "./frames/read-response.ts";
export {
  encodeReadResponse,
  encodeSessionMeta,
  readResponseBytes,
  type StoredBatch,
} from "./frames/read-response-encode.ts";
export { leaveSlabs, releaseFrame, type Slab, useSlabs } from "./frames/slab.ts";
export { type TransactionRef, WriteColumns } from "./frames/write-columns.ts";
export { scanWriteRequest } from "./frames/write-request.ts";
export { encodeTransaction, encodeWriteRequest, type WriteRequestColumns } from "./frames/write-request-encode.ts";
export { type AckKind, ackKind, decodeWriteAcks, WriteAcks } from "./frames/write-response.ts";
export { writeAckEncoder } from "./frames/write-response-encode.ts";
