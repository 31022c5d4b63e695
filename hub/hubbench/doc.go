// Package hubbench measures the link from end to end, with real transports,
// TLS and certificates, both ends in one process on loopback. It has no code
// of its own: its tests print lines of the form
//
//	RESULT name value unit
//
// and are skipped unless asked for:
//
//	BENCH=1 go test -count=1 -v -run TestLink ./hub/hubbench
//
// What is measured:
//
//   - objects_1000_rtt200, objects_1000_rtt200_loss1: time until 1,000 objects
//     of 2 KiB are at one node that is connected over QUIC, with 200 ms of
//     round trip, and with 1 % of the packets lost each way on top; the median
//     of 3. The objects are manifests, which the link compresses together; with
//     _random at the end, bytes that do not compress.
//   - roundtrip_p50: a call of 100 bytes from the cloud to an edge and back,
//     over WebSocket; roundtrip_quic_p50 the same over QUIC.
//   - stream_ws, stream_quic: one stream from the cloud to an edge, bytes that
//     the edge's handler has read.
package hubbench
