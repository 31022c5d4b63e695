// Command demo shows edgekit at work on this machine: a Kubernetes cluster, an
// edge node that is connected through cloudcore only, an app and a device on
// it, and what happens when the link is cut.
//
//	demo up      run the story and leave everything up, with instructions
//	demo down    remove all of it
//
// Package tour is the story, package site the scene. The end to end tests in
// package e2e run the same story, the benchmarks in bench the same scene.
package main
