package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/alecthomas/kong"

	"github.com/edgekit/edgekit/cmd/demo/site"
)

type options struct {
	Save string `help:"Folder to write the answers of both to." type:"path" placeholder:"DIR"`
	Read string `help:"Compare the answers of such a folder and start nothing." type:"path" placeholder:"DIR"`
	Keep bool   `help:"Leave the cluster up at the end."`
}

// errFound is returned when the run itself went well, and found something.
var errFound = errors.New("series are missing without a reason: see above")

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	var opts options
	kong.Parse(&opts, kong.Name("comparemetrics"), kong.Description("Compares edgecore's metrics with the kubelet's."))
	if err := run(ctx, opts); err != nil {
		fmt.Fprintln(os.Stderr, "comparemetrics:", err)
		stop()
		os.Exit(1)
	}
}

func run(ctx context.Context, opts options) error {
	if opts.Read != "" {
		ours, err := readAnswers(filepath.Join(opts.Read, "edgecore"))
		if err != nil {
			return err
		}
		peer, err := readAnswers(filepath.Join(opts.Read, "kubelet"))
		if err != nil {
			return err
		}
		return judge(ours, peer)
	}
	ours, peer, err := scrapeBoth(ctx, opts)
	if err != nil {
		return err
	}
	return judge(ours, peer)
}

// judge prints what ours lacks.
func judge(ours, peer answers) error {
	wanted, err := parseSeries(seriesText)
	if err != nil {
		return err
	}
	reasons, err := parseReasons(missingText)
	if err != nil {
		return err
	}
	result, err := compare(wanted, reasons, ours, peer)
	if err != nil {
		return err
	}
	if result.print(os.Stdout); result.failed() {
		return errFound
	}
	return nil
}

// scrapeBoth runs edgecore and then the kubelet with the pods, and reads the answers of each.
func scrapeBoth(ctx context.Context, opts options) (ours, peer answers, err error) {
	s, err := site.InCache("comparemetrics", os.Stdout)
	if err != nil {
		return nil, nil, err
	}
	if err := s.Remove(ctx); err != nil { // what a run that was killed left
		return nil, nil, err
	}
	if !opts.Keep {
		defer func() {
			if downErr := s.Remove(context.WithoutCancel(ctx)); err == nil {
				err = downErr
			}
		}()
	}
	if _, err := s.Up(ctx); err != nil {
		return nil, nil, err
	}
	if err := s.Build(ctx); err != nil {
		return nil, nil, err
	}
	if err := s.StartCloud(ctx); err != nil {
		return nil, nil, err
	}
	client, err := s.Clientset()
	if err != nil {
		return nil, nil, err
	}
	w := world{site: s, client: client}
	if ours, err = w.edgecore(ctx); err != nil {
		return nil, nil, fmt.Errorf("edgecore: %w", err)
	}
	if peer, err = w.kubelet(ctx); err != nil {
		return nil, nil, fmt.Errorf("kubelet: %w", err)
	}
	if opts.Save != "" {
		err = errors.Join(ours.write(filepath.Join(opts.Save, "edgecore")), peer.write(filepath.Join(opts.Save, "kubelet")))
	}
	return ours, peer, err
}

// answers are what a node answered, by the path; an answer that it refused is not in it.
type answers map[string][]byte

// paths are what is asked of a node. The last one counts the requests for the others.
func paths() []string {
	return []string{"/metrics/cadvisor", "/metrics/resource", "/metrics/probes", "/metrics/slis", summaryPath, "/metrics"}
}

// summaryPath has JSON; the others have Prometheus' text format.
const summaryPath = "/stats/summary"

// file is the name of the file of a path.
func file(path string) string { return strings.ReplaceAll(strings.TrimPrefix(path, "/"), "/", "-") }

func (a answers) write(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	for path, text := range a {
		if err := os.WriteFile(filepath.Join(dir, file(path)), text, 0o600); err != nil {
			return err
		}
	}
	return nil
}

func readAnswers(dir string) (answers, error) {
	a := make(answers)
	for _, path := range paths() {
		text, err := os.ReadFile(filepath.Join(dir, file(path)))
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		a[path] = text
	}
	return a, nil
}
