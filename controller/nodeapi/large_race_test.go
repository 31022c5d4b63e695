//go:build race

package nodeapi

// largeObjects is how many objects a large list has: the detector makes it slow.
const largeObjects = 3_000
