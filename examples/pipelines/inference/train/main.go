// Command train makes model.onnx of the example: it trains an autoencoder on windows of a healthy
// pump and writes it as ONNX, in a second and without Python. The seed is fixed.
//
//	cd examples/pipelines && go run ./inference/train inference/model.onnx
//
// A model from PyTorch or scikit-learn does as well: exported with opset 13, one input "window" of shape
// [1, 4] and one output of shape [1, 1].
package main

import (
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
)

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: train FILE.onnx")
		os.Exit(2)
	}
	model, limit, err := train()
	if err == nil {
		err = os.WriteFile(os.Args[1], model, 0o644)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Printf("%s: %d bytes, the limit is a loss of %.4f\n", os.Args[1], len(model), limit)
}

// train returns the model and the loss above which a window is not normal: one and a half times
// the loss that 999 of 1,000 windows that were not trained on stay below.
func train() (model []byte, limit float64, err error) {
	random := rand.New(rand.NewPCG(1, 2))
	rows := windows(2000, random)
	mean, dev := scaling(rows)
	net := newAutoencoder(random, len(mean), 8, 2, 8, len(mean))
	net.train(scaled(rows, mean, dev), 150, random)
	losses := make([]float64, 0, 2000)
	for _, row := range scaled(windows(2000, random), mean, dev) {
		losses = append(losses, net.loss(row))
	}
	slices.Sort(losses)
	limit = 1.5 * losses[len(losses)*999/1000]
	model, err = net.export(mean, dev, limit)
	return model, limit, err
}
