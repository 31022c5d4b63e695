//go:build !race

package twin_test

// underRace says that the race detector watches, which takes memory of its own.
const underRace = false
