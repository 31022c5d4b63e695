package main

import (
	"math"
	"os"
	"testing"

	"github.com/advancedclimatesystems/gonnx"
	"gorgonia.org/tensor"
)

// TestTrain trains the model again: it judges as the committed model does. The bytes may differ between
// processors, as the last bits of floating-point functions do.
func TestTrain(t *testing.T) {
	model, limit, err := train()
	if err != nil || limit <= 0 {
		t.Fatal(limit, err)
	}
	committed, err := os.ReadFile("../model.onnx")
	if err != nil {
		t.Fatal(err)
	}
	again, old := scores(t, model), scores(t, committed)
	for i := range again {
		if math.Abs(again[i]-old[i]) > 0.05*max(old[i], 0.2) {
			t.Errorf("window %d has the score %.3f from the model that was trained now, and %.3f from model.onnx", i, again[i], old[i])
		}
	}
}

func scores(t *testing.T, model []byte) []float64 {
	t.Helper()
	m, err := gonnx.NewModelFromBytes(model)
	if err != nil {
		t.Fatal(err)
	}
	var all []float64
	for i := range 40 {
		load := 0.3 + 0.7*float64(i%20)/19
		w := []float32{float32(1 + 2*load*load), float32(0.05 + 0.4*load), float32(4 + 10*load), float32(0.1 + 0.8*load)}
		if i >= 20 {
			w[0] += 0.8 // a worn bearing
		}
		out, err := m.Run(gonnx.Tensors{"window": tensor.New(tensor.WithShape(1, 4), tensor.WithBacking(w))})
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, float64(out["score"].Data().([]float32)[0]))
	}
	return all
}
