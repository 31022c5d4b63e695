//go:build race

package decodetest

const race = true
