package main

import (
	"math"
	"math/rand/v2"
)

// windows makes n windows of a healthy pump: the mean and the standard deviation of the vibration
// (mm/s) and of the motor's current (A) over 100 samples. All four follow the load, which no sensor
// measures. Replace this by windows that were recorded at your machine: what the pipeline's
// sink "features" publishes.
func windows(n int, random *rand.Rand) [][]float64 {
	rows := make([][]float64, n)
	for i := range rows {
		load := 0.3 + 0.7*random.Float64()
		rows[i] = window(1+2*load*load, 0.05+0.4*load, 4+10*load, 0.1+0.8*load, random)
	}
	return rows
}

// window draws 100 samples of both sensors and aggregates them.
func window(vibration, vibrationDev, current, currentDev float64, random *rand.Rand) []float64 {
	mean := func(m, dev float64) (float64, float64) {
		const samples = 100
		sum, squares := 0.0, 0.0
		for range samples {
			v := m + dev*random.NormFloat64()
			sum += v
			squares += v * v
		}
		avg := sum / samples
		return avg, math.Sqrt(max(squares/samples-avg*avg, 0))
	}
	v, vd := mean(vibration, vibrationDev)
	c, cd := mean(current, currentDev)
	return []float64{v, vd, c, cd}
}

// scaling are the mean and the standard deviation of each column.
func scaling(rows [][]float64) (mean, dev []float64) {
	mean, dev = make([]float64, len(rows[0])), make([]float64, len(rows[0]))
	for j := range mean {
		for _, r := range rows {
			mean[j] += r[j] / float64(len(rows))
		}
		for _, r := range rows {
			dev[j] += (r[j] - mean[j]) * (r[j] - mean[j]) / float64(len(rows))
		}
		dev[j] = math.Sqrt(dev[j])
	}
	return mean, dev
}

// scaled returns rows with mean 0 and deviation 1 in each column.
func scaled(rows [][]float64, mean, dev []float64) [][]float64 {
	out := make([][]float64, len(rows))
	for i, r := range rows {
		out[i] = make([]float64, len(r))
		for j, v := range r {
			out[i][j] = (v - mean[j]) / dev[j]
		}
	}
	return out
}
