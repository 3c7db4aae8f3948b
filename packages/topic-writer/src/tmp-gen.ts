export { create, fromBinary, toBinary } from "../../topic/node_modules/@bufbuild/protobuf/dist/esm/index.js";
export {
  StreamWriteMessage_FromClientSchema,
  StreamWriteMessage_FromServerSchema,
  TransactionIdentitySchema,
} from "../../topic/src/gen/ydb/topic_pb.ts";
export { StatusIds_StatusCode } from "../../topic/src/gen/ydb/status_pb.ts";
