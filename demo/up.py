"""make up: Airflow's UI with both sample sites on throwaway servers, until Ctrl-C."""

from __future__ import annotations

import sys
import time

from demo.airflow_home import USER, AirflowDown, usual_port
from demo.rest import NotAnswered
from demo.screen import Screen
from demo.stage import keep, place_of_its_own, running, stopped_by_signals
from tests.servers.base import ServerFailed


def main() -> int:
    with Screen() as screen, stopped_by_signals(screen), place_of_its_own() as place:
        screen.title("Airflow with Upkeep's two sample sites, on throwaway servers")
        try:
            with running(screen, place, port=usual_port()) as (_, airflow):
                screen.title(f"Open {airflow.url}   user {USER}   password {airflow.password}")
                screen.show(
                    "Nothing runs by itself here: trigger kindergarten_daily or chronoretrace_daily, then their week\n"
                    "(..._weekly), switch on 'Work outside the window' and give a reason. Ctrl-C stops everything and\n"
                    "removes it."
                )
                screen.waiting("")
                while True:
                    airflow.check()
                    time.sleep(1)
        except (AirflowDown, NotAnswered, ServerFailed) as error:
            screen.title(f"It did not work: {type(error).__name__}")
            screen.show(str(error))
            keep(screen, place)
            return 1


if __name__ == "__main__":
    sys.exit(main())
