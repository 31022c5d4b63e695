package main

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"strings"
	"time"

	"github.com/edgekit/edgekit/bus"
)

const (
	windows       = "features/" // windows come in at features/DEVICE
	verdicts      = "judged/"   // verdicts go out at judged/DEVICE
	sessionExpiry = time.Hour
	maxWindow     = 4 << 10 // bytes of a window's message
)

// window is what the pipeline publishes: the aggregates of ten seconds of one pump. The pointers tell
// a number that is missing from 0.
type window struct {
	Device       string   `json:"device"`
	Vibration    *float64 `json:"vibration"`
	VibrationDev *float64 `json:"vibrationDev"`
	Current      *float64 `json:"current"`
	CurrentDev   *float64 `json:"currentDev"`
}

// verdict is what this program publishes.
type verdict struct {
	Device  string  `json:"device"`
	Score   float64 `json:"score"`
	Anomaly bool    `json:"anomaly"`
}

// judge answers each window on b with a verdict, until ctx ends. A window that cannot be judged is logged
// and left out.
func judge(ctx context.Context, b *bus.Bus, d *detector, log *slog.Logger) error {
	stop, err := b.Subscribe(windows+"+", func(ctx context.Context, m bus.Message) {
		device := strings.TrimPrefix(m.Topic, windows)
		v, err := d.judge(device, m.Payload)
		if err == nil {
			var body []byte
			if body, err = json.Marshal(v); err == nil {
				err = b.Publish(ctx, bus.Message{Topic: verdicts + device, Payload: body, QoS: bus.AtLeastOnce})
			}
		}
		if err != nil {
			log.Warn("window is not judged", "device", device, "err", err)
		}
	})
	if err != nil {
		return err
	}
	defer stop()
	return b.Run(ctx)
}

// judge judges the window in a message.
func (d *detector) judge(device string, payload []byte) (verdict, error) {
	if len(payload) > maxWindow {
		return verdict{}, errors.New("the message is too long")
	}
	var w window
	if err := json.Unmarshal(payload, &w); err != nil {
		return verdict{}, err
	}
	if w.Device != device {
		return verdict{}, errors.New("the window's device is not that of the topic")
	}
	var values [features]float64
	for i, v := range []*float64{w.Vibration, w.VibrationDev, w.Current, w.CurrentDev} {
		if v == nil {
			return verdict{}, errors.New("the window lacks one of vibration, vibrationDev, current and currentDev")
		}
		values[i] = *v
	}
	score, err := d.score(values)
	return verdict{Device: device, Score: score, Anomaly: score > 1}, err
}
