//go:build race

package hub_test

const modelSteps = 4_000
