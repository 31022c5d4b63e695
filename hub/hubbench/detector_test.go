//go:build race

package hubbench_test

// raceDetector tells that the race detector watches, which takes several times
// the memory and the time.
const raceDetector = true
