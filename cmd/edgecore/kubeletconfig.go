package main

import (
	"log/slog"

	"github.com/edgekit/edgekit/cmd/internal/kubeletconfig"
	"github.com/edgekit/edgekit/cmd/internal/program"
)

// kubeletConfigFlags name the files that a kubelet of this machine was configured by.
type kubeletConfigFlags struct {
	KubeletConfig    string `help:"File that a kubelet is configured by (KubeletConfiguration, kubelet.config.k8s.io/v1beta1). What it sets is used where neither the command line nor the environment nor edgecore's own file has a value; what edgecore does not use is named at the start." placeholder:"FILE"`
	KubeletConfigDir string `help:"Folder of drop-in files, *.conf, that go over --kubelet-config in the order of their names: the kubelet's --config-dir." placeholder:"DIR"`
}

// kubeletValues gives the settings that the kubelet's files have.
func (c *cli) kubeletValues(setting func(name string) string) (program.Values, error) {
	file, dir := setting("kubelet-config"), setting("kubelet-config-dir")
	if file == "" && dir == "" {
		return nil, nil
	}
	cfg, err := kubeletconfig.Load(file, dir)
	if err != nil {
		return nil, &program.UsageError{Setting: "kubelet-config", Reason: err.Error()}
	}
	c.kubelet = cfg
	values := make(program.Values)
	for name, s := range cfg.Settings {
		values[name] = program.Value{Value: s.Value, Source: s.Field + " at " + s.File}
	}
	return values, nil
}

// logKubeletConfig names what the kubelet's files set without effect.
func (c *cli) logKubeletConfig(log *slog.Logger) {
	if c.kubelet != nil {
		c.kubelet.Unused(log)
	}
}
