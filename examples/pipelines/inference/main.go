package main

import (
	"bytes"
	"context"
	_ "embed"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"syscall"

	"github.com/alecthomas/kong"

	"github.com/edgekit/edgekit/bus"
	"github.com/edgekit/edgekit/bus/client"
)

//go:embed model.onnx
var pumps []byte

// flags are the settings. Each has an environment variable too, which is how a pod sets it.
type flags struct {
	Broker       string `help:"The node's MQTT broker." default:"tcp://127.0.0.1:1884" env:"MQTT_BROKER"`
	Username     string `help:"User name at the broker." env:"MQTT_USERNAME"`
	PasswordFile string `help:"File with the password at the broker." env:"MQTT_PASSWORD_FILE" placeholder:"FILE" type:"existingfile"`
	Model        string `help:"ONNX model; without it the one for pumps." env:"MODEL" placeholder:"FILE" type:"existingfile"`
}

func main() {
	var f flags
	kong.Parse(&f, kong.Name("inference"), kong.Description("Judges windows of sensor values by an ONNX model."))
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := f.run(ctx, slog.New(slog.NewTextHandler(os.Stderr, nil))); err != nil {
		fmt.Fprintln(os.Stderr, "inference:", err)
		stop()
		os.Exit(1)
	}
}

// run judges windows until ctx ends.
func (f *flags) run(ctx context.Context, log *slog.Logger) error {
	model := pumps
	var password []byte
	var err error
	if f.Model != "" {
		if model, err = os.ReadFile(f.Model); err != nil {
			return err
		}
	}
	if f.PasswordFile != "" {
		if password, err = os.ReadFile(f.PasswordFile); err != nil {
			return err
		}
	}
	d, err := newDetector(model)
	if err != nil {
		return err
	}
	// What is published while this program restarts waits at the broker: a session of an hour.
	outside, err := client.New(client.Config{URL: f.Broker, ClientID: "inference", SessionExpiry: sessionExpiry,
		Username: f.Username, Password: bytes.TrimSpace(password), Logger: log})
	if err != nil {
		return err
	}
	b, err := bus.New(bus.Config{Mode: bus.External, External: outside, Logger: log})
	if err != nil {
		return err
	}
	return judge(ctx, b, d, log)
}
