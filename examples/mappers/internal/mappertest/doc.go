// Package mappertest has what the tests of the mappers share: a gateway with the driver and
// its twins in one process, a proxy that drops, holds and damages what goes through it, and a
// check of manifests against the resource definitions (CRDs).
package mappertest
