// Package wire has what cloudcore, edgecore and edgepipe say to each other about pipelines.
//
// A Report is what a node says of one Pipeline, state of the link. Batch is the body of an
// event of the link: CloudEvents on their way to a URL. A Set is what edgecore gives edgepipe,
// and Statuses what it gets back, over a socket in edgecore's folder.
//
// Decoders take bytes from the other end of the link, which may be hostile: texts are cut and
// cleaned, lists are bounded, and no more is allocated than a small multiple of what came. All
// functions may be called from anywhere.
package wire
