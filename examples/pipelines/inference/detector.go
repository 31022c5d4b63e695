package main

import (
	"errors"
	"fmt"
	"math"

	"github.com/advancedclimatesystems/gonnx"
	"gorgonia.org/tensor"
)

const (
	features     = 4        // numbers of a window
	maxModelSize = 16 << 20 // bytes of a model file
)

// detector judges windows by an ONNX model with one input of shape [1, 4] and one output of shape [1, 1].
// It is for one goroutine at a time.
type detector struct {
	model         *gonnx.Model
	input, output string
	window        []float32
	in            gonnx.Tensors
}

// newDetector reads a model and judges one window, so that a model with an operator that gonnx does
// not have, or of another shape, fails here.
func newDetector(model []byte) (d *detector, err error) {
	defer func() { // gonnx panics for some damaged models
		if p := recover(); p != nil {
			d, err = nil, fmt.Errorf("the model is damaged: %v", p)
		}
	}()
	if len(model) > maxModelSize {
		return nil, fmt.Errorf("the model has %d bytes; the limit is %d", len(model), maxModelSize)
	}
	m, err := gonnx.NewModelFromBytes(model)
	if err != nil {
		return nil, fmt.Errorf("read the model (export it with opset 13): %w", err)
	}
	if len(m.InputNames()) != 1 || len(m.OutputNames()) != 1 {
		return nil, fmt.Errorf("the model has %d inputs and %d outputs; it needs one of each", len(m.InputNames()), len(m.OutputNames()))
	}
	d = &detector{model: m, input: m.InputNames()[0], output: m.OutputNames()[0], window: make([]float32, features)}
	d.in = gonnx.Tensors{d.input: tensor.New(tensor.WithShape(1, features), tensor.WithBacking(d.window))}
	_, err = d.score([features]float64{})
	return d, err
}

// score is how unlike a normal window w is; above 1 it is an anomaly.
func (d *detector) score(w [features]float64) (float64, error) {
	for i, v := range w {
		if math.IsNaN(v) || math.IsInf(v, 0) {
			return 0, errors.New("the window has a number that is not finite")
		}
		d.window[i] = float32(v)
	}
	out, err := d.model.Run(d.in)
	if err != nil {
		return 0, fmt.Errorf("run the model: %w", err)
	}
	result, ok := out[d.output].(*tensor.Dense)
	if !ok || result.Size() != 1 {
		return 0, errors.New("the model's output is not one number")
	}
	values, ok := result.Data().([]float32)
	if !ok || math.IsNaN(float64(values[0])) {
		return 0, errors.New("the model's output is not a number of 32 bits")
	}
	return float64(values[0]), nil
}
