"""One module per format; each offers ``export``, see `sltdeploy.exporting.Exporter`."""
