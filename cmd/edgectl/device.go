package main

// deviceCmd is the group "edgectl device". Each of its commands has a file of its own.
type deviceCmd struct {
	Convert deviceConvert `cmd:"" help:"Convert Devices and DeviceModels of v1alpha1 and v1alpha2 to v1beta1. What cannot be converted is named on standard error."`
}
