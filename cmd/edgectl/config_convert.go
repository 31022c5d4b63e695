package main

import (
	"cmp"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/edgekit/edgekit/cmd/internal/kubeedgeconfig"
	"github.com/edgekit/edgekit/cmd/internal/program"
)

// convertCmd converts a configuration of KubeEdge.
type convertCmd struct {
	File       string `arg:"" help:"edgecore.yaml or cloudcore.yaml of KubeEdge; - is standard input."`
	Write      string `help:"Write the configuration to this file; one that is there is not replaced. Default: print it." short:"w" placeholder:"FILE"`
	SecretsDir string `help:"Write the passwords that edgekit needs into files in this folder, which only their owner can read. Without it they are left out." placeholder:"DIR"`
	All        bool   `help:"List the fields that edgekit has no need for too."`
}

// Help is the text below the usage.
func (convertCmd) Help() string {
	return `It prints edgekit's configuration, and as comments what has no counterpart, with the reason.
Tokens and passwords are never printed.

Examples:
  edgectl config convert /etc/kubeedge/config/edgecore.yaml --write /etc/edgekit/edgecore.yaml
  edgectl config convert cloudcore.yaml`
}

// Run converts the file.
func (c *convertCmd) Run(_ *cli, out program.Output) error {
	text, err := readInput(c.File)
	if err != nil {
		return err
	}
	result, err := kubeedgeconfig.Convert(c.File, text)
	if err != nil {
		return err
	}
	if err := c.keepSecrets(result); err != nil {
		return err
	}
	config, err := program.MarshalConfig(result.Settings)
	if err != nil {
		return err
	}
	if len(result.Settings) == 0 {
		config = nil
	}
	whole := fmt.Sprintf("# Settings of %s, made of %s of KubeEdge.\n%s%s", result.Program, filepath.Base(c.File), config, c.comments(result))
	if c.Write == "" {
		_, err := io.WriteString(program.Plain(out), whole)
		return err
	}
	if _, err := os.Stat(c.Write); err == nil {
		return &program.UsageError{Setting: "write", Reason: c.Write + " is there already: move it away, or give another name"}
	}
	outcome, err := program.WriteConfig(c.Write, []byte(whole), 0o640)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(program.Plain(out), "%s%s %s; check it with: edgectl config validate --of %s %s\n", c.comments(result), c.Write, outcome, result.Program, c.Write)
	return err
}

// keepSecrets writes the secrets into files and sets their names.
func (c *convertCmd) keepSecrets(result *kubeedgeconfig.Result) error {
	for _, s := range result.Secrets {
		if s.Setting == "" || c.SecretsDir == "" {
			continue
		}
		dir, err := filepath.Abs(c.SecretsDir)
		if err != nil {
			return err
		}
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return err
		}
		name := filepath.Join(dir, strings.TrimSuffix(s.Setting, "-file"))
		if _, err := program.WriteConfig(name, s.Value, 0o600); err != nil {
			return err
		}
		result.Settings[s.Setting] = name
	}
	return nil
}

// comments say what is not converted.
func (c *convertCmd) comments(result *kubeedgeconfig.Result) string {
	var out strings.Builder
	for _, group := range []struct {
		importance kubeedgeconfig.Importance
		title      string
	}{
		{kubeedgeconfig.Lost, "What edgekit does not do"},
		{kubeedgeconfig.Look, "What works in another way"},
		{kubeedgeconfig.NotNeeded, "What edgekit has no need for"},
	} {
		if group.importance == kubeedgeconfig.NotNeeded && !c.All {
			continue
		}
		title := group.title
		for _, n := range result.Notes {
			if n.Importance != group.importance {
				continue
			}
			if title != "" {
				fmt.Fprintf(&out, "#\n# %s:\n", title)
				title = ""
			}
			fmt.Fprintf(&out, "#   %s: %s\n", n.Field, n.Reason)
		}
	}
	if result.Program == "edgecore" {
		fmt.Fprintf(&out, "#\n# The node joins anew: edgectl join %s -i %s --token-file FILE\n", cloudOf(result), cmp.Or(result.Node, "NAME"))
	}
	return out.String()
}

func cloudOf(result *kubeedgeconfig.Result) string {
	cloud, _ := result.Settings["cloud"].(string)
	return "-e " + cmp.Or(cloud, "HOST:PORT")
}
