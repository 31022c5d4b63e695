package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	"github.com/alecthomas/kong"

	"github.com/edgekit/edgekit/cmd/demo/site"
	"github.com/edgekit/edgekit/cmd/demo/tour"
)

type commands struct {
	Dir        string `help:"Folder of the demo's state (default: edgekit/cluster in XDG_STATE_HOME or the cache folder)." type:"path" placeholder:"DIR"`
	Kubeconfig string `help:"Use this cluster instead of starting a control plane." env:"KUBECONFIG" type:"path" placeholder:"FILE"`

	Up   upCommand   `cmd:"" help:"Run the demo and leave everything up."`
	Down downCommand `cmd:"" help:"Stop and remove all that the demo made."`
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	var cli commands
	parsed := kong.Parse(&cli, kong.Name("demo"), kong.Description("edgekit at work on this machine."), kong.UsageOnError())
	s, err := site.New(site.Config{Dir: cli.Dir, Kubeconfig: cli.Kubeconfig, Out: os.Stdout})
	if err == nil {
		parsed.BindTo(ctx, (*context.Context)(nil))
		err = parsed.Run(s)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "demo:", err)
		stop()
		os.Exit(1)
	}
}

type upCommand struct{}

func (upCommand) Run(ctx context.Context, s *site.Site) error {
	if err := tour.New(s).Show(ctx, os.Stdout); err != nil {
		return err
	}
	fmt.Printf(`
Everything is still up. To look around:

    export KUBECONFIG=%s PATH=%s:$PATH
    kubectl get nodes,pods -A -o wide
    kubectl -n demo get devices,devicestatuses
    kubectl -n demo patch device thermometer --type=json -p '[{"op":"replace","path":"/spec/properties/1/desired/value","value":"18"}]'
    nsenter --net=%s curl -s http://POD-IP:8080     # as seen from the node
    ip link set %s down                          # cut the link; up again to mend it

Logs are in %s. To stop and remove all of it: make demo-down
`, s.Kubeconfig(), filepath.Dir(s.Kubectl()), s.Network().File, s.Network().Cable, filepath.Join(s.Dir(), "logs"))
	return nil
}

type downCommand struct{}

func (downCommand) Run(ctx context.Context, s *site.Site) error {
	if err := s.Remove(ctx, []string{"namespace", tour.Namespace}, []string{"node", tour.Node}); err != nil {
		return err
	}
	fmt.Println("demo: nothing is left of it")
	return nil
}
