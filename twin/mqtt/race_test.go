//go:build race

package mqtt_test

// underRace says whether the race detector watches, which takes memory of its own.
const underRace = true

// manyCount is how many devices TestManyMappers has.
const manyCount = 200
