package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/alecthomas/kong"

	"github.com/edgekit/edgekit/cmd/cluster/devcluster"
)

type commands struct {
	Dir        string `help:"Folder of the cluster's state (default: edgekit/cluster in XDG_STATE_HOME or the cache folder)." type:"path" placeholder:"DIR"`
	Kubeconfig string `help:"Use this cluster instead of starting a control plane." env:"KUBECONFIG" type:"path" placeholder:"FILE"`

	Up     upCommand     `cmd:"" help:"Build what is missing and start what does not run."`
	Down   downCommand   `cmd:"" help:"Stop and remove everything but the build cache."`
	Status statusCommand `cmd:"" help:"Show the programs and their logs; exit 1 if one that should run does not."`
	Env    envCommand    `cmd:"" help:"Print shell commands that set the environment to work with the cluster."`
	Run    runCommand    `cmd:"" help:"Run one command beside a container runtime of its own, in the node's network; then remove all. EDGEKIT_CRI_SOCKET is the runtime's socket."`
	Images imagesCommand `cmd:"" help:"Import images and list what the node has."`
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	var cli commands
	parsed := kong.Parse(&cli, kong.Name("cluster"), kong.Description("A Kubernetes cluster for development, with a place for one edge node."), kong.UsageOnError())
	cfg := devcluster.Config{Dir: cli.Dir, Kubeconfig: cli.Kubeconfig, Out: os.Stdout}
	if len(cli.Run.Command) > 0 {
		cfg.Kubeconfig, cfg.RuntimeOnly = "", true
	}
	c, err := devcluster.New(cfg)
	if err == nil {
		parsed.BindTo(ctx, (*context.Context)(nil))
		err = parsed.Run(c)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "cluster:", err)
		stop()
		os.Exit(1)
	}
}

type upCommand struct{}

func (upCommand) Run(ctx context.Context, c *devcluster.Cluster) error {
	began := time.Now()
	fmt.Println("cluster: bringing up in", c.Dir())
	changed, err := c.Up(ctx)
	if err != nil {
		return err
	}
	if !changed {
		fmt.Println("cluster: already up")
	} else {
		fmt.Printf("cluster: up in %v\n", time.Since(began).Round(100*time.Millisecond))
	}
	fmt.Printf("  export KUBECONFIG=%s\n  %s get namespaces\n", c.Kubeconfig(), c.Kubectl())
	return nil
}

type downCommand struct{}

func (downCommand) Run(ctx context.Context, c *devcluster.Cluster) error {
	changed, err := c.Down(ctx)
	if err != nil {
		return err
	}
	if !changed {
		fmt.Println("cluster: there is none in", c.Dir())
		return nil
	}
	fmt.Println("cluster: down, and nothing left in", c.Dir())
	return nil
}

type statusCommand struct{}

func (statusCommand) Run(c *devcluster.Cluster) error {
	up, err := c.Status(os.Stdout)
	if err == nil && !up {
		err = errors.New("a program that should run does not: run cluster up")
	}
	return err
}

type envCommand struct{}

func (envCommand) Run(c *devcluster.Cluster) error {
	env, err := c.Env()
	if err != nil {
		return err
	}
	for _, kv := range env {
		key, value, _ := strings.Cut(kv, "=")
		fmt.Printf("export %s='%s'\n", key, strings.ReplaceAll(value, "'", `'\''`))
	}
	return nil
}

type runCommand struct {
	Command []string `arg:"" passthrough:"" help:"The command and its arguments."`
}

// Run uses a cluster beside the one that others may have up.
func (cmd runCommand) Run(ctx context.Context, c *devcluster.Cluster) error {
	own, err := devcluster.New(devcluster.Config{Dir: c.Dir() + "-command", RuntimeOnly: true, Out: os.Stdout})
	if err != nil {
		return err
	}
	return own.RunCommand(ctx, cmd.Command[0], cmd.Command[1:]...)
}

type imagesCommand struct {
	Archives []string `arg:"" optional:"" type:"existingfile" help:"Image archives (docker-archive or OCI, tar) to import."`
}

func (cmd imagesCommand) Run(ctx context.Context, c *devcluster.Cluster) error {
	if err := c.Images(ctx); err != nil {
		return err
	}
	if err := c.Import(ctx, cmd.Archives...); err != nil {
		return err
	}
	names, err := c.ImageNames(ctx)
	for _, name := range names {
		if !strings.HasPrefix(name, "sha256:") {
			fmt.Println(name)
		}
	}
	return err
}
