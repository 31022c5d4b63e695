package main

import (
	"context"
	"log/slog"

	"golang.org/x/sync/errgroup"

	"github.com/edgekit/edgekit/bus"
	"github.com/edgekit/edgekit/bus/client"
	"github.com/edgekit/edgekit/device"
	"github.com/edgekit/edgekit/device/mqtt"
)

// mapper runs the driver beside edgecore, over its MQTT broker, until ctx
// ends.
func mapper(ctx context.Context, log *slog.Logger, broker, node, username, password string) error {
	outside, err := client.New(client.Config{URL: broker, Username: username, Password: []byte(password), Logger: log})
	if err != nil {
		return err
	}
	b, err := bus.New(bus.Config{Mode: bus.External, External: outside, Logger: log})
	if err != nil {
		return err
	}
	link, err := mqtt.New(mqtt.Config{Bus: b, Node: node, Protocol: protocol, Logger: log})
	if err != nil {
		return err
	}
	log.Info("thermometer mapper starts", "broker", broker, "node", node, "protocol", protocol)
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return b.Run(ctx) })
	group.Go(func() error {
		return device.Run(ctx, device.Config{
			Protocol: protocol,
			New:      func() device.Driver { return new(thermometer) },
			Link:     link,
			Logger:   log,
		})
	})
	return group.Wait()
}
