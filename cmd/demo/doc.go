// Command demo shows edgekit at work on this machine: a Kubernetes cluster, an
// edge node that is connected through cloudcore only, an app and a device on
// it, and what happens when the link is cut.
//
//	demo up      run the story and leave everything up, with instructions
//	demo down    remove all of it
//
// Package tour has the steps, and package site starts and stops the programs. The
// end-to-end tests in e2e run the same tour. The benchmarks in bench and the
// conformance tests in conformance use the same site.
package main
