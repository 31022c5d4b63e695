//go:build race

package hubbench_test

// raceDetector says that the race detector is on, which takes several times the memory
// and the time.
const raceDetector = true
