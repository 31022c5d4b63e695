//go:build !linux

package main

func size() string { return "none" }
