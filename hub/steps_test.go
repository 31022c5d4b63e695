//go:build !race

package hub_test

// modelSteps is how long TestModel runs; the race detector makes it slow.
const modelSteps = 100_000
