// Package program runs a driver as a program beside edgecore: flags, environment, logger,
// signals, and the MQTT link to the node's broker.
package program

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/alecthomas/kong"
	"golang.org/x/sync/errgroup"

	"github.com/edgekit/edgekit/bus"
	"github.com/edgekit/edgekit/bus/client"
	"github.com/edgekit/edgekit/device"
	"github.com/edgekit/edgekit/device/kubesecrets"
	"github.com/edgekit/edgekit/device/mqtt"
)

// flags are the settings of a mapper program. Each has an environment variable too, which is
// how a pod sets it.
type flags struct {
	Broker       string        `help:"The node's MQTT broker." default:"tcp://127.0.0.1:1884" env:"MQTT_BROKER"`
	Node         string        `help:"Name of the edge node whose devices to drive." required:"" env:"NODE_NAME"`
	Protocol     string        `help:"Drive the devices with this protocolName." default:"${protocol}" env:"PROTOCOL"`
	Username     string        `help:"User name at the broker." env:"MQTT_USERNAME"`
	PasswordFile string        `help:"File with the password at the broker, or with a token." env:"MQTT_PASSWORD_FILE" placeholder:"FILE"`
	SecretsDir   string        `help:"Folder with the Secrets that devices refer to: NAMESPACE/NAME/KEY or NAME/KEY." env:"SECRETS_DIR" placeholder:"DIR"`
	SecretsAPI   bool          `help:"Read the Secrets that devices refer to from the Kubernetes API, with the service account of this pod." name:"secrets-api" env:"SECRETS_API"`
	CollectCycle time.Duration `help:"Time between two readings of a property that names none." default:"10s" env:"COLLECT_CYCLE"`
	Timeout      time.Duration `help:"Time for each call of the driver." default:"10s" env:"TIMEOUT"`
	LogLevel     slog.Level    `help:"Lowest level that is logged: debug, info, warn or error." default:"info" env:"LOG_LEVEL"`
}

// Main runs the mapper of a protocol, of which cfg lacks the link, with the process's arguments until it gets SIGINT or
// SIGTERM, and returns its exit code: 2 if the command line is wrong, 1 after a failure.
func Main(cfg device.Config) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	return Run(ctx, os.Stderr, os.Args[1:], cfg)
}

// Run is Main with a context, arguments and an output of the caller's.
func Run(ctx context.Context, out io.Writer, args []string, cfg device.Config) int {
	protocol := cfg.Protocol
	var f flags
	exit, exited := 0, false
	parser, err := kong.New(&f,
		kong.Name(protocol+"-mapper"), kong.Description("Drives the "+protocol+" devices of an edge node over its MQTT broker."),
		kong.Vars{"protocol": protocol}, kong.Writers(out, out),
		kong.Exit(func(code int) { exit, exited = code, true }))
	if err == nil {
		_, err = parser.Parse(args)
	}
	if exited { // --help
		return exit
	}
	if err != nil {
		fmt.Fprintf(out, "%s-mapper: %v (see --help)\n", protocol, err)
		return 2
	}
	if err := f.run(ctx, out, cfg); err != nil {
		fmt.Fprintf(out, "%s-mapper: %v\n", protocol, err)
		return 1
	}
	return 0
}

// run connects to the broker and drives the devices until ctx ends.
func (f flags) run(ctx context.Context, out io.Writer, cfg device.Config) error {
	log := slog.New(slog.NewTextHandler(out, &slog.HandlerOptions{Level: f.LogLevel}))
	var password []byte
	if f.PasswordFile != "" {
		text, err := os.ReadFile(f.PasswordFile)
		if err != nil {
			return fmt.Errorf("--password-file: %w", err)
		}
		password, f.Username = []byte(strings.TrimSpace(string(text))), cmp.Or(f.Username, "mapper")
	}
	outside, err := client.New(client.Config{URL: f.Broker, Username: f.Username, Password: password, Logger: log})
	if err != nil {
		return fmt.Errorf("--broker: %w", err)
	}
	b, err := bus.New(bus.Config{Mode: bus.External, External: outside, Logger: log})
	if err != nil {
		return err
	}
	link, err := mqtt.New(mqtt.Config{Bus: b, Node: f.Node, Protocol: f.Protocol, Logger: log})
	if err != nil {
		return err
	}
	cfg.Protocol, cfg.Link, cfg.Logger, cfg.CollectCycle, cfg.Timeout = f.Protocol, link, log, f.CollectCycle, f.Timeout
	switch {
	case f.SecretsDir != "" && f.SecretsAPI:
		return errors.New("--secrets-dir and --secrets-api: use one of them")
	case f.SecretsDir != "":
		cfg.Secrets = device.SecretFiles(f.SecretsDir)
	case f.SecretsAPI:
		if cfg.Secrets, err = kubesecrets.New(kubesecrets.Config{}); err != nil {
			return fmt.Errorf("--secrets-api: %w", err)
		}
	}
	log.Info("mapper starts", "protocol", f.Protocol, "broker", f.Broker, "node", f.Node)
	running, stopBus := context.WithCancel(context.WithoutCancel(ctx)) // outlives the mapper: it reports its devices offline
	defer stopBus()
	var group errgroup.Group
	group.Go(func() error { return b.Run(running) })
	group.Go(func() error {
		defer stopBus()
		return device.Run(ctx, cfg)
	})
	if err := group.Wait(); err != nil && !errors.Is(err, context.Canceled) {
		return err
	}
	return nil
}
