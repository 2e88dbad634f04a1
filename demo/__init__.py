"""The demonstration: both sample sites on throwaway servers, looked after by a real Airflow.

python -m demo.demo    runs both nightly backups once and judges them (make demo)
python -m demo.weekly  runs the night, then the week (make demo-weekly)
python -m demo.up      leaves Airflow's UI running (make up)
"""
