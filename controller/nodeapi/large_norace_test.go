//go:build !race

package nodeapi

// largeObjects is how many objects a large list has.
const largeObjects = 50_000
