package main

import (
	"fmt"
	"io"
	"path/filepath"

	"github.com/edgekit/edgekit/cmd/internal/program"
)

// setUpHere writes the files of a cloudcore on this machine.
func (i *initCmd) setUpHere(cli *cli, out io.Writer) error {
	settings := make(map[string]any, len(i.Set)+4)
	for name, value := range i.Set {
		settings[name] = value
	}
	settings["namespace"], settings["advertise"] = cli.Namespace, withPorts(i.AdvertiseAddress)
	settings["kubeconfig"] = filepath.Join("/etc/edgekit", "kubeconfig")
	config, err := program.MarshalConfig(settings)
	if err != nil {
		return err
	}
	file := filepath.Join(i.LocalDir, "etc", "edgekit", "cloudcore.yaml")
	if i.DryRun {
		_, err := fmt.Fprintf(out, "# %s\n%s", file, config)
		return err
	}
	outcome, err := program.WriteConfig(file, config, 0o640)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(out, `%s %s
cloudcore's unit comes with its package (cloudcore.service). Give cloudcore its kubeconfig and start it:
  (umask 027; edgectl kubeconfig > /etc/edgekit/kubeconfig) && chgrp edgekit /etc/edgekit/kubeconfig /etc/edgekit/cloudcore.yaml && chmod 0640 /etc/edgekit/kubeconfig && systemctl enable --now cloudcore
`, file, outcome)
	return err
}
