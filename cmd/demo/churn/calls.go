package main

import (
	"context"
	"strings"
	"time"
)

// sampleGap is the time between two looks at how many calls edgecore made of its
// runtime, and minute is how many of them make a minute.
const (
	sampleGap = 10 * time.Second
	minute    = int(time.Minute / sampleGap)
)

// calls counts the calls that edgecore makes of its runtime.
type calls struct {
	last    int
	samples []int // calls since the look before
}

// add takes what edgecore's counter says. A counter that is less than before is that of
// a new process.
func (c *calls) add(counter int) {
	n := counter - c.last
	if n < 0 {
		n = counter
	}
	c.last = counter
	c.samples = append(c.samples, n)
}

// most is how many calls were made in the worst minute.
func (c *calls) most() int {
	most := 0
	for i := range c.samples {
		sum := 0
		for _, n := range c.samples[i:min(i+minute, len(c.samples))] {
			sum += n
		}
		most = max(most, sum)
	}
	return most
}

// count looks at edgecore's counter until ctx ends. While edgecore is down there is
// nothing to look at.
func (c *calls) count(ctx context.Context, n *node) error {
	const name = "kubelet_runtime_operations_total{"
	for sleep(ctx, sampleGap) == nil {
		values, err := n.metrics(ctx)
		if err != nil {
			continue
		}
		sum := 0
		for series, value := range values {
			if strings.HasPrefix(series, name) {
				sum += value
			}
		}
		c.add(sum)
	}
	return nil
}
