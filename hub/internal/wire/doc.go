// Package wire is the codec of the link: frames, their encoder and decoder, the
// reader that joins fragments, and compressed batches. hub.proto describes the
// format; TestProto compares the two.
//
// The codec is written by hand on top of protowire, not generated, for three reasons:
//
//   - Bounds. A decoder of outside bytes allocates at most 20 bytes for each byte that
//     it receives, and limits are checked before memory is taken: the entries of a
//     list are counted before any is read, and the class of a call is known before its
//     body has come. Generated code allocates first.
//   - Memory. Frames are plain structs without the state that a generated message
//     keeps, bodies may stay in the buffer that they came in, and a frame is written
//     once into a buffer of the right size. A server holds 100,000 links.
//   - Weight. The protobuf runtime with reflection is some megabytes of an edge's
//     binary; protowire is a few functions.
//
// Unknown fields and frames are skipped, so that a newer peer may send them.
package wire
