// Command inference judges windows of sensor values by a small ONNX model at the edge node.
//
// A Pipeline (pipeline.yaml) aggregates the samples of each pump over ten seconds and publishes the
// four features of a window at features/DEVICE. This program runs the model on them
// and publishes the verdict at judged/DEVICE. The Pipeline sets the device's twin from it, when
// it changes. So the program has no state, needs no rights in the cluster, and may be written in any
// language; only its model is particular.
//
//	go run ./inference --broker tcp://127.0.0.1:1884
//	mosquitto_pub -p 1884 -t features/pump-1 -m '{"device":"pump-1","vibration":2.9,"vibrationDev":0.2,"current":6,"currentDev":0.3}'
//	mosquitto_sub -p 1884 -t 'judged/#'
//
// # The model
//
// model.onnx is an autoencoder of 4, 8, 2, 8 and 4 numbers that learned healthy pumps; train has
// the data and the way it was trained. It finds what no limit on one value can: a vibration that is
// normal at full load and is not at half load.
//
// # The runtime
//
// The program runs ONNX with gonnx, in pure Go: no C library, one static file, cross-compiled as all of
// edgekit. It knows opset 13 and about 55 operators: dense layers, convolutions, LSTM and GRU. A model
// that needs more is refused at the start. The README has the figures, and the other runtimes.
package main
