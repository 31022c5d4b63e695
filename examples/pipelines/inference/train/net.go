package main

import (
	"math"
	"math/rand/v2"
)

// layer is one dense layer with its gradients and Adam's two moments of each weight.
type layer struct {
	in, out  int
	tanh     bool
	w        []float64 // weights [in][out], then out biases
	grad     []float64
	first    []float64
	second   []float64
	x, y, dx []float64 // what went in, what came out, and the gradient for the layer before
}

func newLayer(in, out int, tanh bool, random *rand.Rand) *layer {
	n := in*out + out
	l := &layer{in: in, out: out, tanh: tanh, w: make([]float64, n), grad: make([]float64, n), first: make([]float64, n), second: make([]float64, n),
		y: make([]float64, out), dx: make([]float64, in)}
	scale := math.Sqrt(2 / float64(in+out))
	for i := range in * out {
		l.w[i] = random.NormFloat64() * scale
	}
	return l
}

func (l *layer) forward(x []float64) []float64 {
	l.x = x
	copy(l.y, l.w[l.in*l.out:])
	for i, v := range x {
		for j, w := range l.w[i*l.out : (i+1)*l.out] {
			l.y[j] += v * w
		}
	}
	if l.tanh {
		for j, v := range l.y {
			l.y[j] = math.Tanh(v)
		}
	}
	return l.y
}

// backward adds the gradients for dy, which it changes, and returns the gradient of the input.
func (l *layer) backward(dy []float64) []float64 {
	if l.tanh {
		for j, y := range l.y {
			dy[j] *= 1 - y*y
		}
	}
	bias := l.grad[l.in*l.out:]
	for j, d := range dy {
		bias[j] += d
	}
	for i, v := range l.x {
		row := l.w[i*l.out : (i+1)*l.out]
		grad := l.grad[i*l.out : (i+1)*l.out]
		l.dx[i] = 0
		for j, d := range dy {
			grad[j] += v * d
			l.dx[i] += row[j] * d
		}
	}
	return l.dx
}

// update makes one step of Adam (Kingma and Ba, 2015) and clears the gradients.
func (l *layer) update(step int, rate float64) {
	const beta1, beta2, epsilon = 0.9, 0.999, 1e-8
	c1, c2 := 1-math.Pow(beta1, float64(step)), 1-math.Pow(beta2, float64(step))
	for i, g := range l.grad {
		l.first[i] = beta1*l.first[i] + (1-beta1)*g
		l.second[i] = beta2*l.second[i] + (1-beta2)*g*g
		l.w[i] -= rate * l.first[i] / c1 / (math.Sqrt(l.second[i]/c2) + epsilon)
		l.grad[i] = 0
	}
}

// autoencoder squeezes a window's features through fewer numbers and restores them. It learns
// to do so for normal windows only, so what it restores badly is not normal.
type autoencoder struct{ layers []*layer }

func newAutoencoder(random *rand.Rand, sizes ...int) *autoencoder {
	a := &autoencoder{}
	for i := range len(sizes) - 1 {
		a.layers = append(a.layers, newLayer(sizes[i], sizes[i+1], i < len(sizes)-2, random))
	}
	return a
}

// loss is the mean of the squared differences between x and what is restored.
func (a *autoencoder) loss(x []float64) float64 {
	y := x
	for _, l := range a.layers {
		y = l.forward(y)
	}
	sum := 0.0
	for i := range x {
		sum += (y[i] - x[i]) * (y[i] - x[i])
	}
	return sum / float64(len(x))
}

// train learns from rows in epochs, with a rate that falls to a hundredth.
func (a *autoencoder) train(rows [][]float64, epochs int, random *rand.Rand) {
	const batch, rate = 32, 0.01
	step := 0
	for epoch := range epochs {
		order := random.Perm(len(rows))
		now := rate * math.Pow(0.01, float64(epoch)/float64(epochs))
		for from := 0; from < len(order); from += batch {
			part := order[from:min(from+batch, len(order))]
			for _, i := range part {
				a.loss(rows[i])
				last := a.layers[len(a.layers)-1]
				dy := make([]float64, last.out)
				for j := range dy {
					dy[j] = 2 * (last.y[j] - rows[i][j]) / float64(len(dy)*len(part))
				}
				for j := len(a.layers) - 1; j >= 0; j-- {
					dy = a.layers[j].backward(dy)
				}
			}
			step++
			for _, l := range a.layers {
				l.update(step, now)
			}
		}
	}
}
