//go:build race

package badgerstore_test

const raceDetector = true
