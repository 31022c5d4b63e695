// Package site is a cloud and an edge on one machine, as the demo, the end to
// end tests and the benchmarks use it: a development cluster, cloudcore beside
// it, and in the node's own network edgecore and the thermometer mapper.
//
// The programs are built from this repository and run through their command
// lines only, as an operator would run them. A Site is for one goroutine at a
// time.
package site
