// Package v1beta1 has the messages and services of KubeEdge's DMI (device management
// interface), version v1beta1, for both ends. edgecore serves DeviceManagerService on its
// socket; each mapper serves DeviceMapperService on a socket of its own.
//
// The file dmi.proto says the same for other languages. A test compiles it and compares it
// with the types here, field by field.
//
// # Codec
//
// The messages are plain structs; the tag `pb:"1"` is the number of a field. Codec is a gRPC
// codec for them: there is no generated code, which would cost edgecore 200 KiB and memory at
// each start. A decoder allocates at most 20 bytes for each byte that it reads, refuses text
// that is not UTF-8, and skips fields that it does not know.
//
//	server := grpc.NewServer(grpc.ForceServerCodecV2(v1beta1.NewCodec()))
//	v1beta1.RegisterDeviceManager(server, manager)
//
// # Values of configData
//
// AnyOf and ToJSON convert between JSON and google.protobuf.Any. See AnyOf for the types.
//
// # Concurrency
//
// A Codec and the clients may be used by several goroutines at once. Messages are values of
// their owner.
package v1beta1
