package extra_test

import (
	"fmt"

	"github.com/edgekit/edgekit/bus/pipeline"
	"github.com/edgekit/edgekit/bus/pipeline/extra"
	"github.com/edgekit/edgekit/bus/pipeline/sinks"
	"github.com/edgekit/edgekit/bus/pipeline/v1alpha1"
)

// A program that has all sinks.
func ExampleOpen() {
	open := extra.Open(sinks.Open)
	s, err := open(&v1alpha1.Sink{Name: "out", Kafka: &v1alpha1.KafkaSink{Brokers: []string{"kafka.example:9092"}, Topic: "readings"}}, pipeline.Env{})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(s.Close())
	_, err = open(&v1alpha1.Sink{Name: "out", Kafka: &v1alpha1.KafkaSink{Brokers: []string{"kafka.example"}, Topic: "readings"}}, pipeline.Env{})
	fmt.Println(err)
	// Output:
	// <nil>
	// bus/pipeline/extra: sink out: kafka.brokers[0] is "kafka.example": use HOST:PORT
}
