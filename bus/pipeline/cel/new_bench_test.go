package cel_test

import (
	"testing"

	"github.com/edgekit/edgekit/bus/pipeline/cel"
)

func BenchmarkNew(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		if _, err := cel.New(cel.Config{}); err != nil {
			b.Fatal(err)
		}
	}
}
