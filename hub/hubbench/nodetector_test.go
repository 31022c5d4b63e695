//go:build !race

package hubbench_test

const raceDetector = false
