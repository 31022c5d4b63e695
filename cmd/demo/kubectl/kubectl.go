package kubectl

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"strings"
)

// Client runs kubectl. It may be used by several goroutines at once.
type Client struct {
	Path       string // the program
	Kubeconfig string
}

// Run runs one command with the input given and returns its standard output.
// The error of a command that failed is what kubectl complained of.
func (c Client) Run(ctx context.Context, input string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, c.Path, args...)
	cmd.Env = append(os.Environ(), "KUBECONFIG="+c.Kubeconfig)
	cmd.Stdin = strings.NewReader(input)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("kubectl %s: %w: %s", strings.Join(args, " "), err, strings.TrimSpace(stderr.String()))
	}
	return stdout.String(), nil
}

// Apply applies manifests in YAML.
func (c Client) Apply(ctx context.Context, manifests string) error {
	_, err := c.Run(ctx, manifests, "apply", "-f", "-")
	return err
}

// Get reads an object into the value that into points to: Get(ctx, &node,
// "node", "edge-1").
func (c Client) Get(ctx context.Context, into any, args ...string) error {
	out, err := c.Run(ctx, "", append([]string{"get", "-o", "json"}, args...)...)
	if err != nil {
		return err
	}
	if err := json.Unmarshal([]byte(out), into); err != nil {
		return fmt.Errorf("kubectl get %s: %w", strings.Join(args, " "), err)
	}
	return nil
}
